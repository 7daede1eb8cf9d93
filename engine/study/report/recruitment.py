"""Figures of people: who was asked, who agreed, what was left out and why. Pure."""

from collections import Counter

from engine.study.export.codebook import Tables
from engine.study.export.consort import UNIT_FLOW, Flow, flow_json, numbers, unit_flow
from engine.study.report.figures import Figure, bars


def recruitment(tables: Tables, flow: Flow) -> list[Figure]:
    return [_funnel(flow, tables), _exclusions(flow, tables), _arms(tables, flow)]


def _funnel(flow: Flow, tables: Tables) -> Figure:
    invited, people = flow.people["invited"], tables["people"]
    values = {
        "invited": sum(invited.values()),
        "opened the form": sum(count for name, count in invited.items() if name != "invited"),
        "ever agreed": flow.people["ever_agreed"],
        "agree now": flow.people["agree_now"],
        "have rows": len({row["pseudonym"] for row in tables["interactions"]}),
    }
    granted = [row for row in tables["consents"] if row["action"] == "granted"]
    texts = Counter(f"text {row['text_version']}, {row['locale']}" for row in granted)
    return Figure(
        name="funnel",
        title="From invitation to consent",
        svg=bars("funnel", values if any(values.values()) else {}, "people", "Consent funnel"),
        n=f"n = {values['agree now']:,} people who agree now",
        rows="consents",
        which="of people who agree now; invitations are counted, not listed",
        head=("step", "people"),
        cells=[
            *(values | dict(numbers(flow.people))).items(),
            ("let excerpts be published", sum(row["excerpts"] for row in people)),
            ("let accounts be linked", sum(row["linkage"] for row in people)),
            *sorted(texts.items()),
        ],
        note="Somebody may open the form uninvited, with /consent.",
    )


def _exclusions(flow: Flow, tables: Tables) -> Figure:
    told = flow_json(tables, flow)
    cells = list(numbers({"interactions": told["interactions"], **told["shown"]}))
    total = flow.interactions["on_record"]
    return Figure(
        name="exclusions",
        title="What was left out",
        svg=bars("exclusions", dict(cells), "rows", "Flow of exclusions"),
        n=f"n = {total:,} interactions, {len(tables['exposures']):,} exposures",
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
