"""Names for what a test mutates outside Kubernetes, unique to its namespace; this module must never create any of it.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import re

from pytest_ephemeral_ns.errors import UsageError
from pytest_ephemeral_ns.rules.naming import digest, slug

_MARK = 8
_HOST_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class Handles:
    """Names of every kind for one namespace. All end with, or contain, the same hash of the namespace's name and UID.

    The UID counts because a bucket or a database outlives clusters: two clusters may have a namespace of one name.

    Args:
        namespace: name of the namespace.
        seed: its UID.

    Example:
        >>> handles = Handles("shop-pr42-1a2b3c4-k3x9-gw0", "5f0c")
        >>> handles.database
        'shop_pr42_1a2b3c4_k3x9_gw0_wq2n1v5a'
    """

    def __init__(self, namespace: str, seed: str = "") -> None:
        self._words = slug(namespace) or "ns"
        self._mark = digest(namespace, seed, length=_MARK)

    def __repr__(self) -> str:
        return f"Handles({self.tenant!r})"

    @property
    def tenant(self) -> str:
        """A tenant, customer or project: a DNS label, at most 63 of ``a-z``, ``0-9`` and ``-``."""
        return self._label(63)

    @property
    def bucket(self) -> str:
        """A bucket: 3 to 63 of ``a-z``, ``0-9`` and ``-``, as S3 and Google Cloud Storage ask.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html and
        https://cloud.google.com/storage/docs/buckets#naming. Prefixes and words that they reserve are avoided.
        """
        name = self._label(63)
        reserved = name.startswith(("sthree-", "amzn-s3-demo-")) or "goog" in name or "g00g" in name
        return f"b-{self._mark}" if reserved else name

    @property
    def database(self) -> str:
        """A database: at most 63 of ``a-z``, ``0-9`` and ``_``, a letter first; valid unquoted in PostgreSQL and MySQL.

        Source: https://www.postgresql.org/docs/current/sql-syntax-lexical.html (NAMEDATALEN) and
        https://dev.mysql.com/doc/refman/en/identifier-length.html (64).
        """
        words = self._words.replace("-", "_")
        # A digit needs quotes, and PostgreSQL keeps pg_ for itself.
        if not words[0].isalpha() or words.startswith("pg_"):
            words = f"ns_{words}"
        return f"{words[: 63 - _MARK - 1].rstrip('_')}_{self._mark}"

    @property
    def schema(self) -> str:
        """A schema; the rules of :attr:`database`."""
        return self.database

    @property
    def key_prefix(self) -> str:
        """The beginning of keys in Redis, Memcached or etcd; ends with ``:``."""
        return f"{self.tenant}:"

    def email(self, local: str = "test", domain: str = "example.test") -> str:
        """Return an address of which the part before ``@`` has at most 64 characters (RFC 5321, 4.5.3.1.1).

        Args:
            local: who in the story: ``"alice"``.
            domain: the default can never be delivered to (RFC 2606).

        Returns:
            ``local+tenant@domain``, in lower case.

        Raises:
            UsageError: the domain is not one.

        Example:
            >>> Handles("shop-gw0", "5f0c").email("alice")
            'alice+shop-gw0-l0iqvg05@example.test'
        """
        _check_domain(domain, 254 - 65)
        who = re.sub(r"[^a-z0-9._-]+", "-", local.lower()).strip("-._") or "test"
        who = re.sub(r"\.{2,}", ".", who)
        who = _within(who, local, 24)
        return f"{who}+{self._label(64 - len(who) - 1)}@{domain.lower()}"

    def topic(self, name: str = "") -> str:
        """Return a topic: at most 249 of ``A-Z``, ``a-z``, ``0-9``, ``.``, ``_`` and ``-``, as Kafka asks.

        Args:
            name: what the application calls it; kept as far as the characters allow.

        Returns:
            ``tenant-name``, or the tenant alone.

        Example:
            >>> Handles("shop-gw0", "5f0c").topic("orders.created")
            'shop-gw0-l0iqvg05-orders.created'
        """
        kept = re.sub(r"[^A-Za-z0-9._-]+", "-", name)
        return self._with(_within(kept, name, 249 - len(self.tenant) - 1))

    def queue(self, name: str = "") -> str:
        """Return a queue: at most 80 of ``A-Z``, ``a-z``, ``0-9``, ``-`` and ``_``, as SQS asks; RabbitMQ allows more.

        Args:
            name: what the application calls it; an ending ``.fifo`` is kept, SQS gives it a meaning.

        Returns:
            ``tenant-name``, or the tenant alone.

        Example:
            >>> Handles("shop-gw0", "5f0c").queue("orders.fifo")
            'shop-gw0-l0iqvg05-orders.fifo'
        """
        stem, ending = (name[:-5], ".fifo") if name.endswith(".fifo") else (name, "")
        kept = re.sub(r"[^A-Za-z0-9_-]+", "-", stem)
        room = 80 - len(ending)
        if not kept:
            return self._label(min(63, room)) + ending
        kept = _within(kept, stem, 32)
        return f"{self._label(min(63, room - len(kept) - 1))}-{kept}{ending}"

    def hostname(self, base: str) -> str:
        """Return a host below ``base``: the label has at most 63 characters, the whole at most 253 (RFC 1035).

        Args:
            base: ``"apps.example.com"``; at most 189 characters.

        Raises:
            UsageError: ``base`` is not a domain, or leaves no room.

        Example:
            >>> Handles("shop-gw0", "5f0c").hostname("apps.example.com")
            'shop-gw0-l0iqvg05.apps.example.com'
        """
        domain = base.lower().strip(".")
        _check_domain(domain, 253 - 64)
        return f"{self.tenant}.{domain}"

    def _label(self, limit: int) -> str:
        return f"{self._words[: limit - _MARK - 1].rstrip('-')}-{self._mark}"

    def _with(self, name: str) -> str:
        return f"{self.tenant}-{name}" if name else self.tenant


def _within(kept: str, raw: str, limit: int) -> str:
    """Return ``kept``; where it is too long or lost a character of ``raw``, with a hash of ``raw``."""
    if kept == raw and len(kept) <= limit:
        return kept
    mark = digest(raw, length=6)
    return f"{kept[: limit - 7].rstrip('-._')}-{mark}"


def _check_domain(domain: str, limit: int) -> None:
    labels = domain.lower().split(".")
    if len(domain) > limit or not all(_HOST_LABEL.fullmatch(label) for label in labels):
        raise UsageError(
            f"{domain!r} is not a domain that names can be put below",
            evidence=[f"labels of a-z, 0-9 and - between dots, {limit} characters at most"],
        )
