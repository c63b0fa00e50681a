"""What values and manifests may name: the identity's fields and the handles; this module must never replace any.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from dataclasses import asdict

from pytest_ephemeral_ns.rules.handles import Handles
from pytest_ephemeral_ns.rules.identity import Identity

LOCAL = "localhost"
"""What the field ``hostname`` is below: browsers and resolvers take such names for this machine (RFC 6761, 6.3)."""


def fields_of(identity: Identity, handles: Handles, *, namespace: str, run_id: str, worker_id: str) -> dict[str, str]:
    """Return every field by name: ``{commit}`` in Helm values, ``${COMMIT}`` in manifests.

    Args:
        identity: who, what and where the run is; fields that nobody knows are empty.
        handles: of the namespace.
        namespace: its name.
        run_id: of the run.
        worker_id: ``"gw0"`` …

    Example:
        >>> fields = fields_of(Identity("shop", "main"), Handles("shop-gw0"), namespace="a", run_id="b", worker_id="c")
        >>> fields["project"], fields["tenant"], fields["hostname"]
        ('shop', 'shop-gw0-c17e4brh', 'shop-gw0-c17e4brh.localhost')
    """
    # Not "tag": in manifests that is an image's, given by the user, and a missing one must be an error.
    known = {"git_tag" if name == "tag" else name: str(value) for name, value in asdict(identity).items()}
    return {
        **known,
        "commit_short": identity.commit[:7],
        "namespace": namespace,
        "run_id": run_id,
        "worker_id": worker_id,
        "tenant": handles.tenant,
        "bucket": handles.bucket,
        "database": handles.database,
        "schema": handles.schema,
        "key_prefix": handles.key_prefix,
        "email": handles.email(),
        "topic": handles.topic(),
        "queue": handles.queue(),
        "hostname": handles.hostname(LOCAL),
    }
