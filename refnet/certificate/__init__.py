"""Certified truth: for every number of the network a midpoint and a proven radius."""

from .certificate import Certificate
from .check import Check, check_certificate
from .proof import certify

__all__ = ["Certificate", "Check", "certify", "check_certificate"]
