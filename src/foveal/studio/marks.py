"""What stands of all decisions: the label of each image, whether it is left out, and what stays together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from foveal.core.grouping import grouped
from foveal.studio.collection import Label, Purpose, label_from_json
from foveal.studio.journal import Entry, Journal


@dataclass(slots=True)
class Marks:
    """What stands.

    Attributes:
        purpose: what is to be known of each image; None where that is not chosen yet.
        labels: by name of the image, in the order in which they were given.
        left_out: names of images that are not written and not learned from.
        right: names of images whose label was looked at and found right.
        together: pairs of names that stay on one side of the split.
        decided: names of images whose label was decided on in a studio.
    """

    purpose: Purpose | None = None
    labels: dict[str, Label] = field(default_factory=dict)
    left_out: set[str] = field(default_factory=set)
    right: set[str] = field(default_factory=set)
    together: set[frozenset[str]] = field(default_factory=set)
    decided: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, journal: Journal) -> Marks:
        """Return what stands in a journal."""
        marks = cls()
        for entry in journal.standing():
            marks.take(entry)
        return marks

    def take(self, entry: Entry) -> None:
        """Take a decision.

        Args:
            entry: of any kind but "back".

        Raises:
            AssertionError: the decision is of the kind "back".
        """
        name = entry.images[0] if entry.images else ""
        match entry.kind:
            case "begin":
                self.purpose = Purpose(entry.value["kind"], tuple(entry.value["names"]))
                read = ((image, label_from_json(label)) for image, label in entry.value["labels"].items())
                self.labels = {image: label for image, label in read if label is not None}
            case "classes":
                assert self.purpose is not None
                self.purpose = Purpose(self.purpose.kind, tuple(entry.value))
            case "label":
                label = label_from_json(entry.value)
                self.decided.add(name)
                self.right.discard(name)
                self.labels.pop(name, None)
                if label is not None:  # which takes in an image that was left out
                    self.labels[name] = label
                    self.left_out.discard(name)
            case "left out":
                (self.left_out.add if entry.value else self.left_out.discard)(name)
            case "right":
                (self.right.add if entry.value else self.right.discard)(name)
            case "together":
                pair = frozenset(entry.images)
                (self.together.add if entry.value else self.together.discard)(pair)
            case "back":
                raise AssertionError("what stands is found anew without the decision that was taken back")


def groups_of(together: Iterable[frozenset[str]]) -> Mapping[str, str]:
    """Return for each image that stays together with others the first of them, by name."""
    group_of = grouped((min(pair), max(pair)) for pair in together)
    first: dict[str, str] = {}
    for name, group in group_of.items():
        first[group] = min(name, first.get(group, name))
    return {name: first[group] for name, group in group_of.items()}
