"""What experts are asked in an evaluation: openings without an author, and topics for news."""

from engine.plan.prompt import assemble

REPORT_BEGINNING = (
    "They sat alone in the darkened room as rain hammered against the old windowpanes."
)

OPENINGS = (
    REPORT_BEGINNING,
    "The letter had lain unopened on the desk for three days.",
    "Nobody in the village could say when the house was built.",
    "I had not meant to return to the coast that autumn.",
    "The train stopped between stations a little after midnight.",
    "My uncle left me very little besides the key.",
    "At breakfast the third chair was empty.",
    "We had been walking since noon when we saw the light.",
    "The doctor closed his bag and looked at each of us in turn.",
    "There was a knock at the door, and then silence.",
    "It was the gardener who found it first.",
    "The old man spoke slowly, as if he had told it many times before.",
    "Snow had fallen all night on the roofs of the town.",
    "She put the photograph face down on the table.",
    "For some moments none of them moved.",
    "The captain would not say what he had seen from the bridge.",
    "In the library the clock had stopped at ten minutes past four.",
    "I know what the newspapers said about my brother.",
    "The road to the farm ran beside a dry river.",
    "He had rented the upper rooms for a month, and paid in advance.",
    "Something had been moved in the study since yesterday.",
    "The museum closed at six, but a lamp was still burning.",
    "It was on the second evening that we heard the footsteps.",
    "Miss Harding had kept the secret for eleven years.",
    "The boat was tied where we had left it, but the rope was new.",
    "All afternoon the professor had been strangely quiet.",
    "The telephone rang once in the hall.",
    "Nothing in the will had prepared the family for this.",
    "The well had been covered before I was born.",
    "By the time the others arrived, the fire was almost out.",
)

TOPICS = (
    "Ferry service to resume after storm repairs",
    "Council approves plan for new library",
    "Thousands without power as gales hit the coast",
    "Scientists report decline in garden birds",
    "Minister announces review of rail fares",
    "Museum recovers stolen painting after ten years",
    "Team wins cup final on penalties",
    "Volcano erupts, villages evacuated",
    "Central bank holds interest rates",
    "Factory fire injures four workers",
    "Hospital opens children's ward",
    "Parliament votes on farming bill",
    "Earthquake felt across two provinces",
    "University launches marine research vessel",
    "Airline cancels flights in pilots' strike",
    "Police appeal for witnesses after road collision",
    "Record number of voters turn out in local elections",
    "Rescuers reach miners after two days",
    "Government publishes figures on house building",
    "Bridge closed for safety checks",
    "Satellite reaches orbit on second attempt",
    "Court rules on fishing rights",
    "Drought warning issued for the south",
    "Festival draws visitors to small town",
    "New vaccine centre to open in spring",
    "Wildfire contained near national park",
    "Talks on border crossing begin",
    "Teachers offered new pay deal",
    "Archaeologists find Roman road under car park",
    "Train derails, no one hurt",
)

STORY_WISH = "I want a short story.\nHere is the beginning:\n\n"


def prompts_for(command: str, template: str, count: int) -> list[str]:
    """Put `count` prompts for a command together as the bot does; no author is named."""
    texts = TOPICS if command == "news" else tuple(STORY_WISH + opening for opening in OPENINGS)
    return [assemble(template, texts[index % len(texts)])[0] for index in range(count)]


def report_prompt(template: str, title: str) -> str:
    """Make the source report's own request to one author."""
    wish = f"I want a short mystery story in the style of {title.lower()}.\n"
    return assemble(template, f"{wish}Here is the beginning:\n\n{REPORT_BEGINNING}")[0]
