"""The sample flow as a diagram."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain_eval.report.drawing import NARROW
from retrain_eval.report.pages.sample.flow_diagram import BOX, LANE, FlowDiagram, lanes

SVG = "{http://www.w3.org/2000/svg}"
FLOW = pd.DataFrame(
    [
        ("Submitted", "treated", 2446, ""), ("Submitted", "control", 17554, ""),
        ("Linked", "treated", 2396, "not found"), ("Linked", "control", np.nan, "not found"),
        ("Matched", "treated", 2396, "no control"), ("Matched", "control", 2224, "not nearest"),
    ],
    columns=["step", "group", "n", "reason"],
)  # fmt: skip


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter(f"{SVG}text")]


@pytest.mark.parametrize("narrow", [False, True])
def test_every_count_loss_and_reason_is_drawn(narrow: bool) -> None:
    drawn = texts(FlowDiagram(FLOW).svg(narrow))
    for text in ("Trained", "Possible controls", "2,446", "17,554", "2,396", "−50 not found", "2,224"):
        assert text in drawn
    assert "no control" not in " ".join(drawn)  # nobody was lost there


def test_a_withheld_count_takes_the_losses_beside_it_along() -> None:
    """Either loss, with the counts around it, would tell the count."""
    control = lanes(FLOW)["control"]
    assert [step.count for step in control] == ["17,554", "withheld", "2,224"]
    assert [step.loss for step in control] == ["", "number withheld: not found", "number withheld: not nearest"]
    assert "Linked withheld (number withheld: not found)" in FlowDiagram(FLOW).alt


def test_one_group_alone_has_no_heading() -> None:
    alone = FlowDiagram(FLOW[FLOW["group"] == "treated"])
    assert "Trained" not in texts(alone.svg())
    assert alone.alt == "Sample flow. Submitted 2,446; Linked 2,396 (−50 not found); Matched 2,396."


def test_what_users_wrote_is_escaped() -> None:
    svg = FlowDiagram(FLOW.assign(step="<script>", reason="a & b")).svg()
    assert "<script" not in svg
    ET.fromstring(svg)


def test_the_page_gets_two_drawings_alt_text_and_data() -> None:
    data, metadata = FlowDiagram(FLOW)._repr_mimebundle_()
    assert metadata["image/svg+xml"]["alt"].startswith("Sample flow. Trained: Submitted 2,446;")
    assert float(ET.fromstring(data[NARROW]["svg"]).attrib["width"]) < 365
    assert float(ET.fromstring(data["image/svg+xml"]).attrib["width"]) < 755
    assert data["text/csv"].startswith("step,group,n,reason\nSubmitted,treated,2446")


words = st.text(st.characters(codec="ascii", min_codepoint=32), max_size=120)


@given(st.lists(st.tuples(words, st.integers(0, 10**9), st.one_of(st.none(), st.integers(0, 10**9)), words),
                min_size=1, max_size=6, unique_by=lambda row: row[0]))  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_boxes_never_overlap_and_stay_inside(rows: list[tuple[str, int, int | None, str]]) -> None:
    flow = pd.DataFrame(
        [(step, group, n, why) for step, a, b, why in rows for group, n in (("treated", a), ("control", b))],
        columns=["step", "group", "n", "reason"],
    )
    for narrow in (False, True):
        root = ET.fromstring(FlowDiagram(flow).svg(narrow))
        boxes = [{k: float(e.attrib[k]) for k in ("x", "y", "width", "height")} for e in root.iter(f"{SVG}rect")]
        assert len(boxes) == 2 * len(rows)
        for lane in {box["x"] for box in boxes}:
            column = sorted((box for box in boxes if box["x"] == lane), key=lambda box: box["y"])
            for above, below in pairwise(column):
                assert below["y"] >= above["y"] + above["height"] + 26
        width, height = (float(root.attrib[k]) for k in ("width", "height"))
        assert all(box["x"] + LANE <= width and box["y"] + BOX <= height for box in boxes)
        assert not re.search("nan", ET.tostring(root, encoding="unicode").split("<text")[0])
