"""Figures of people: who was asked, who agreed, what was left out and why. Pure."""

from collections import Counter

from engine.study.export.codebook import Row, Tables
from engine.study.export.consort import UNIT_FLOW, exposure_flow, unit_flow
from engine.study.export.dataset import Flow
from engine.study.report.figures import Figure
from engine.study.report.plots import bars


def recruitment(tables: Tables, flow: Flow) -> list[Figure]:
    return [_funnel(flow, tables), _exclusions(flow, tables), _arms(tables, flow)]


def _funnel(flow: Flow, tables: Tables) -> Figure:
    outcomes = flow.invited
    opened = sum(count for name, count in outcomes.items() if name != "invited")
    active = {row["pseudonym"] for row in tables["interactions"]}
    values = {
        "invited": sum(outcomes.values()),
        "opened the form": opened,
        "agreed, ever": flow.agreed,
        "agree now": flow.people,
        "have rows": len(active),
    }
    granted = [row for row in tables["consents"] if row["action"] == "granted"]
    versions = Counter((row["text_version"], str(row["locale"])) for row in granted)
    last: dict[str, Row] = {row["pseudonym"]: row for row in tables["consents"]}
    excerpts = sum(row["excerpts"] for row in last.values())
    linkage = sum(row["linkage"] for row in last.values())
    return Figure(
        name="funnel",
        title="From invitation to consent",
        svg=bars("funnel", values if any(values.values()) else {}, "people", "Consent funnel"),
        n=f"n = {flow.people:,} people who agree now",
        rows="consents",
        which="of people who agree now; invitations are counted, not listed",
        head=("step", "people"),
        cells=[
            *values.items(),
            *((f"invitation: {name}", count) for name, count in outcomes.items()),
            ("withdrew", flow.withdrawn),
            ("no longer agree to use", flow.declined_use),
            ("accounts joined to another", flow.linked),
            ("let excerpts be published", excerpts),
            ("let accounts be linked", linkage),
            *(
                (f"text {v}, {language}", count)
                for (v, language), count in sorted(versions.items())
            ),
        ],
        note="Somebody may open the form uninvited, with /consent.",
    )


def _exclusions(flow: Flow, tables: Tables) -> Figure:
    cells: list[tuple[str, int]] = [("interactions on record", flow.interactions)]
    cells += [(f"left out: {name}", count) for name, count in flow.left_out.items()]
    cells.append(("interactions in this report", len(tables["interactions"])))
    for kind, made, shown, judged, void in exposure_flow(tables):
        cells.append((f"{kind}: made", made))
        cells += [(f"{kind}: void, {reason}", count) for reason, count in void.items()]
        cells += [(f"{kind}: delivered", shown), (f"{kind}: judged", judged)]
    return Figure(
        name="exclusions",
        title="What was left out",
        svg=bars("exclusions", dict(cells), "rows", "Flow of exclusions"),
        n=f"n = {flow.interactions:,} interactions, {len(tables['exposures']):,} exposures",
        rows="trials",
        which="all, void ones too; rows of people who left are counted, not listed",
        head=("step", "rows"),
        cells=cells,
        note="After CONSORT's flow of participants.",
    )


def _arms(tables: Tables, flow: Flow) -> Figure:
    cells = unit_flow(tables, flow)
    values = {f"{name}: {arm}": count for name, arm, count, *_ in cells}
    return Figure(
        name="arms",
        title="Experiments: units by arm",
        svg=bars("arms", values, "units", "Allocation"),
        n=f"n = {len(tables['enrolments']):,} units of {sum(values.values()):,} allocated",
        rows="enrolments",
        which="all",
        head=UNIT_FLOW,
        cells=cells,
        note="Of those who left, only these counts remain.",
    )
