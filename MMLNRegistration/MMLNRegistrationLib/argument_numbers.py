"""Whole numbers on the command line, as argparse's types: what is none is refused with the limits in the message."""

from __future__ import annotations

import argparse


def count(text: str) -> int:
    """0 to 10000."""
    if not _is_number(text) or int(text) > 10_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 10000")
    return int(text)


def positive(text: str) -> int:
    """1 to 1024."""
    if not _is_number(text) or not 1 <= int(text) <= 1024:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 1024")
    return int(text)


def port(text: str) -> int:
    """0 to 65535."""
    if not _is_number(text) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port, which is a number from 0 to 65535")
    return int(text)


def size(text: str) -> int:
    """1 to 999999999."""
    if not _is_number(text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 999999999")
    return int(text)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10
