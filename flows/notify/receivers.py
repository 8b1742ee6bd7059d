"""Who is told, as values; their addresses are shown nowhere."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field

from lockgate.flows.notify.message import Message
from lockgate.flows.notify.spec import Kind
from lockgate.flows.spec import Spec


@dataclass(frozen=True, slots=True)
class Receiver:
    """`name` is how the spec writes the address, like `${SLACK_URL}`."""

    name: str
    on: tuple[Kind, ...]
    url: str = field(repr=False)

    @property
    def key(self) -> str:
        """12 hexadecimal digits; the same as long as the spec writes it so."""
        return hashlib.sha256(json.dumps([self.name, sorted(self.on)]).encode()).hexdigest()[:12]

    def send(self, message: Message) -> str:
        """Empty when it was taken; else why not, in a few words and without the address."""
        from lockgate.flows.notify.services import service, tell
        from lockgate.flows.notify.webhook import post

        known = service(self.url)
        return tell(known, message) if known else post(self.url, message)


def receivers(spec: Spec) -> list[Receiver]:
    written = spec.document["notify"]
    return [
        Receiver(as_written["webhook"], to.on, to.webhook) for as_written, to in zip(written, spec.notify, strict=True)
    ]
