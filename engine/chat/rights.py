"""How the ledger's tables let go of a person; the layers above hand in the rules of their own."""

from engine.ledger.chat_tables import BucketRow, MessageRow, PlaceRow, Rating, Report, VerdictRow
from engine.ledger.observers import Rule
from engine.ledger.tables import Asker, Delivery, JobRow, Output, PictureRow, RequestRow
from engine.queues.postgres.tables import ProgressRow, Ticket

# In the order in which rows go: those that point at others first.
RULES: dict[str, Rule] = {
    "ratings": Rule("lookup", Rating.rater, also=Rating.job_id),
    "reports": Rule("lookup", Report.reporter, also=Report.job_id),
    "verdicts": Rule("lookup", VerdictRow.asker, also=VerdictRow.job_id),
    "buckets": Rule("lookup", BucketRow.lookup),
    "places": Rule("lookup", PlaceRow.owner),
    "outputs": Rule("request", Output.job_id),
    "pictures": Rule("request", PictureRow.job_id),
    "deliveries": Rule("request", Delivery.job_id),
    "messages": Rule("request", MessageRow.job_id),
    "tickets": Rule("request", Ticket.job_id),
    "progress": Rule("request", ProgressRow.job_id),
    "jobs": Rule("request", JobRow.id),
    "requests": Rule("request", RequestRow.id),
    "askers": Rule("lookup", Asker.lookup),
    "tombstones": Rule(
        "nobody", why="a keyed code and a time, no content: what keeps them forgotten"
    ),
    "blocks": Rule("nobody", why="the operator's own rule"),
    "retention_runs": Rule("nobody", why="counts"),
    "switches": Rule("nobody", why="the operator's"),
    "discards": Rule("nobody", why="names of pictures that are on their way out"),
    "workers": Rule("nobody", why="programs that serve"),
    "leases": Rule("nobody", why="what one process does"),
    "seen": Rule("nobody", why="numbers of updates"),
    "meta": Rule("nobody", why="the ledger itself"),
}
