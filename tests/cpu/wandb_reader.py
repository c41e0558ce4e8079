"""Reads W&B's offline transaction log, so that tests see what W&B would be sent.

The file is a LevelDB log (32 KiB blocks of records: crc32 4 bytes, length 2, type 1, data) after
a 7-byte header; each record holds one protobuf message.
"""

import json
import struct
from pathlib import Path

BLOCK = 32768
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def read_records(path: Path) -> list:
    """All messages of one .wandb file."""
    from wandb.proto import wandb_internal_pb2

    data = path.read_bytes()
    assert data[:4] == b":W&B"
    records, parts, at = [], b"", 7
    while at + 7 <= len(data):
        left = BLOCK - at % BLOCK
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        if kind == 0:
            break
        part = data[at + 7 : at + 7 + length]
        at += 7 + length
        parts = part if kind in (FULL, FIRST) else parts + part
        if kind in (FULL, LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            records.append(record)
    return records


class OfflineRun:
    """One offline run directory: run, config, history rows, summary and metric definitions."""

    def __init__(self, directory: Path) -> None:
        (file,) = directory.glob("*.wandb")
        self.history: list[dict] = []
        self.summary: dict = {}
        self.axes: dict[str, str] = {}
        self.exit_code: int | None = None
        for record in read_records(file):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                self.run = record.run
                self.config = _items(record.run.config.update)
            elif kind == "history":
                self.history.append(_items(record.history.item))
            elif kind == "summary":
                self.summary.update(_items(record.summary.update))
            elif kind == "metric":
                self.axes[record.metric.name] = record.metric.step_metric
            elif kind == "exit":
                self.exit_code = record.exit.exit_code


def _items(items) -> dict:
    return {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in items}
