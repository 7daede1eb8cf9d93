"""Every column of the schema, by what it may tell of a person. No test.

`words`: what people, platforms or models said, sealed. `keys`: what names a person, or a row that a
button, a footer or a message also names. `names`: pseudonyms, under a study's own key. `figures`: exact
numbers, which a screen or a clock shows too. `facts`: of few values, or about no person.
"""

from engine.ledger import chat_tables as _chat
from engine.ledger.tables import Table
from engine.queues.postgres import tables as _queues
from engine.study import tables as _study
from engine.study.experiments import tables as _experiments

KINDS = ("words", "keys", "names", "figures", "facts")
ALL = Table.metadata
assert all(one.Table.metadata is ALL for one in (_chat, _queues, _experiments, _study))

CLASSES: dict[str, dict[str, str]] = {
    "meta": {"facts": "name value"},
    "askers": {
        "words": "platform_id",
        "keys": "id lookup",
        "figures": "created_at",
        "facts": "platform",
    },
    "requests": {
        "words": "place typed text beginning style drawing memory route",
        "keys": "id asker_id place_lookup conversation parent seed",
        "figures": "length accepted_at",
        "facts": "command platform rule router_version private alone",
    },
    "jobs": {
        "words": "prompt drawing error",
        "keys": "id request_id seed",
        "figures": "head recalled noted length accepted_at started_at first_token_at finished_at "
        "tokens_in tokens_out",
        "facts": "expert medium state sampling plain attempt deaths_alone alone base_digest "
        "adapter_digest",
    },
    "outputs": {"words": "text notes", "keys": "id job_id", "figures": "created_at"},
    "pictures": {
        "keys": "id job_id media seed",
        "figures": "width height created_at",
        "facts": "number",
    },
    "deliveries": {
        "words": "address",
        "keys": "id job_id idempotency_key",
        "figures": "created_at delivered_at due_at tries",
        "facts": "state sender",
    },
    "discards": {"keys": "media", "figures": "at"},
    "leases": {"facts": "name holder until"},
    "buckets": {"keys": "lookup", "figures": "left at"},
    "places": {
        "words": "style",
        "keys": "lookup owner",
        "figures": "changed_at",
        "facts": "platform talk_on",
    },
    "blocks": {"keys": "lookup", "figures": "at", "facts": "platform kind action"},
    "ratings": {"keys": "id job_id rater", "figures": "at", "facts": "value"},
    "reports": {"words": "reason", "keys": "id job_id reporter", "figures": "at"},
    "verdicts": {
        "words": "reasons",
        "keys": "id job_id asker",
        "figures": "milliseconds at",
        "facts": "stage action provider version",
    },
    "switches": {"facts": "name value at"},
    "seen": {"facts": "platform update at"},
    "messages": {"keys": "lookup job_id", "figures": "at"},
    "tombstones": {"keys": "lookup", "figures": "at"},
    "tickets": {
        "keys": "job_id asker",
        "figures": "turn rank created_at",
        "facts": "queue worker reply_to cancelled",
    },
    "workers": {
        "facts": "number station host pid medium queues kit version slots running state reason seen_at"
    },
    "progress": {"words": "event", "keys": "job_id", "facts": "attempt"},
    "studies": {"facts": "id opened_at key_check key_destroyed_at closed_at"},
    "consents": {
        "keys": "id form",
        "names": "pseudonym",
        "figures": "at",
        "facts": "study action use excerpts linkage adult text_version text_sha256 locale platform "
        "channel",
    },
    "study_places": {
        "names": "place",
        "figures": "at",
        "facts": "id study platform kind action",
    },
    "invitations": {"keys": "lookup", "figures": "at", "facts": "study outcome"},
    "interactions": {
        "words": "typed text beginning style route prompt drawing output notes",
        "keys": "id consent_id session job_id parent seed",
        "names": "pseudonym place",
        "figures": "length accepted_at started_at first_token_at finished_at delivered_at hidden_at "
        "tokens_in tokens_out",
        "facts": "study platform private command rule router_version expert medium plain experiment arm "
        "base_digest adapter_digest sampling state moderation",
    },
    "study_pictures": {
        "keys": "id interaction_id media seed",
        "names": "pseudonym",
        "figures": "width height",
        "facts": "study number",
    },
    "study_ratings": {
        "words": "reason",
        "keys": "id interaction_id",
        "names": "pseudonym",
        "figures": "at",
        "facts": "study value",
    },
    "study_events": {
        "keys": "id interaction_id",
        "names": "pseudonym",
        "figures": "at",
        "facts": "study kind detail",
    },
    "link_codes": {
        "keys": "code_hash",
        "names": "pseudonym",
        "figures": "expires_at used_at",
        "facts": "study",
    },
    "study_links": {"names": "pseudonym root", "figures": "at", "facts": "study"},
    "retention_runs": {"facts": "id at dry_run counts"},
    "study_exports": {"facts": "id study at rows manifest_sha256"},
    "experiments": {
        "facts": "study id version_sha256 file state enrolled frozen_at stopped_at stop_reason "
        "erased stimuli_sha256"
    },
    "enrolments": {
        "keys": "id block position code",
        "names": "unit pseudonym",
        "figures": "completed_at at",
        "facts": "study experiment version_sha256 unit_kind arm excluded stratum",
    },
    "items": {
        "words": "text",
        "keys": "media",
        "names": "author",
        "facts": "id study kind expert medium source licence digest active pool stimulus arm",
    },
    "exposures": {
        "keys": "id seed",
        "names": "pseudonym",
        "figures": "visible latency made_at delivered_at revealed_at",
        "facts": "study experiment kind item step shown position state void_reason",
    },
    "votes": {
        "words": "reason",
        "keys": "id exposure_id",
        "names": "pseudonym",
        "figures": "seconds at",
        "facts": "study choice confidence unblinded",
    },
    "questionnaire_answers": {
        "words": "value words",
        "keys": "id about",
        "names": "pseudonym",
        "figures": "seconds at",
        "facts": "study experiment instrument question shown",
    },
    "panel_ids": {
        "words": "panel",
        "keys": "lookup",
        "names": "pseudonym",
        "figures": "at",
        "facts": "study annotator",
    },
}


def of_kind(kind: str, table: str) -> list[str]:
    """The columns of a table that are of that kind."""
    return CLASSES[table].get(kind, "").split()
