"""Batch normalization over a batch that lies in shards on several ranks.

Every rank is called with its shard. y and dx are those of the whole batch; dweight and dbias are
the sums over the rank's own shard, which data parallelism adds up later; the buffers are the same
on every rank.
"""

from __future__ import annotations

from dataclasses import replace

from normcheck.ops.batch_norm import OP as BATCH_NORM

__all__ = ["OP"]

OP = replace(
    BATCH_NORM,
    name="sync_batch_norm",
    summary="batch_norm of a batch in shards, one on each of three ranks (Gloo, CPU)",
)
