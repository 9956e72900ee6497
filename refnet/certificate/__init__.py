"""Certified truth: for every number of the network a midpoint and a proven radius."""

from .certificate import Certificate
from .check import Check, check_certificate
from .document import document
from .kept import kept_certificate
from .proof import MAX_DIGITS, certify

__all__ = ["MAX_DIGITS", "Certificate", "Check", "certify", "check_certificate", "document", "kept_certificate"]
