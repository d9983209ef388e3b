"""What a host gives, checked where it is given: callers may not be typed."""

from collections.abc import Iterable
from typing import cast

from sidetask.core.errors.base import ConfigurationError

_NOTHING = object()


def check_seconds(what: str, given: object, *, or_zero: bool = False) -> None:
    """See that it is a time.

    Raises:
        ConfigurationError: No number, or none above 0; `or_zero`: nor 0.
    """
    if not _is_above(0, given, or_same=or_zero):
        raise ConfigurationError(f"{what} is seconds {'>=' if or_zero else '>'} 0, not {given!r}")


def check_count(what: str, given: object, *, least: int = 1) -> None:
    """See that it is so many.

    Raises:
        ConfigurationError: No whole number, or less than `least`.
    """
    if not (isinstance(given, int) and _is_above(least, given, or_same=True)):
        raise ConfigurationError(f"{what} is at least {least}, not {given!r}")


def check_positive(what: str, given: object) -> None:
    """See that it is a number above 0.

    Raises:
        ConfigurationError: It is none.
    """
    if not _is_above(0, given):
        raise ConfigurationError(f"{what} is above 0, not {given!r}")


def check_kind(what: str, given: object, *kinds: type) -> None:
    """See that it is an instance of one of these.

    Raises:
        ConfigurationError: It is not.
    """
    if not isinstance(given, kinds):
        wanted = " or ".join([kind.__name__ for kind in kinds])
        raise ConfigurationError(f"{what} is of type {wanted}, not {given!r:.80}")


def check_like(what: str, given: object, kind: str, has: str) -> None:
    """See that it has what this kind is known by: a host may give anything that behaves like one.

    Raises:
        ConfigurationError: It has not.
    """
    if isinstance(given, type) or getattr(given, has, _NOTHING) is _NOTHING:
        raise ConfigurationError(f"{what} is of type {kind}, not {given!r:.80}")


def check_list(what: str, given: object) -> None:
    """See that it can be gone through, and is no text.

    Raises:
        ConfigurationError: It cannot, or is one.
    """
    if isinstance(given, list | tuple):  # the usual case: to ask for more takes longer
        return
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise ConfigurationError(f"{what} are given in a list, not as {given!r:.80}")


def check_callable(what: str, given: object) -> None:
    """See that it is a function.

    Raises:
        ConfigurationError: It cannot be called.
    """
    if not callable(given):
        raise ConfigurationError(f"{what} is a function, not {given!r:.80}")


def check_errors(what: str, given: object) -> None:
    """See that it is a type of errors, or a tuple of such.

    Raises:
        ConfigurationError: It is not.
    """
    kinds = cast("tuple[object, ...]", given if isinstance(given, tuple) else (given,))
    for each in kinds:
        if not (isinstance(each, type) and issubclass(each, Exception)):
            raise ConfigurationError(f"{what} takes types of errors, not {each!r:.80}")


def _is_above(least: int, given: object, *, or_same: bool = False) -> bool:
    if isinstance(given, bool) or not isinstance(given, (int, float)):
        return False
    return given > least or (or_same and given == least)  # NaN is neither
