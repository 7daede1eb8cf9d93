"""Who may do what, where: + is done, - is refused for want of a right, . is met with silence.

A refusal for want of a right says so; "I have nothing of yours from this chat" is none. Each cell is
done over the wire by test_rights.py.
"""

# Discord, in a channel and in a thread. A keeper has Manage Channel there, a manager Manage Server.
DISCORD = """
                        member keeper manager admin operator blocked
/story It rained.       +      +      +       +     +        -
/compare It rained.     +      +      +       +     +        -
/guess                  +      +      +       +     +        -
/again                  +      +      +       +     +        -
/continue               +      +      +       +     +        -
/why                    +      +      +       +     +        -
/stories                +      +      +       +     +        -
/note It is red.        +      +      +       +     +        -
/cancel                 +      +      +       +     +        -
/styles                 +      +      +       +     +        -
/queue                  +      +      +       +     +        -
/help                   +      +      +       +     +        +
/privacy                +      +      +       +     +        +
/forget                 +      +      +       +     +        +
/mydata                 +      +      +       +     +        +
/withdraw               +      +      +       +     +        +
/consent                +      +      +       +     +        -
/link                   +      +      +       +     +        -
/rate                   +      +      +       +     +        -
/report                 +      +      +       +     +        +
/settings               +      +      +       +     +        -
/settings style agatha  -      +      +       +     +        -
/settings talk off      -      +      +       +     +        -
/study show             +      +      +       +     +        -
/study on               -      -      +       +     +        -
/study off              -      -      +       +     +        -
"""
DISCORD_THREAD = """
                        member keeper manager admin operator blocked
/story It rained.       +      +      +       +     +        -
/forget                 +      +      +       +     +        +
/settings style agatha  -      +      +       +     +        -
/study on               -      -      +       +     +        -
"""
# Below an answer that a person asked for; a blocked one is neither its asker nor a manager.
DISCORD_PRESSES = """
             asker other keeper manager admin operator blocked
CONTINUE     +     -     -      -       -     +        -
AGAIN        +     -     -      -       -     +        -
STYLE        +     -     -      -       -     +        -
STYLE poe    +     -     -      -       -     +        -
WHY          +     +     +      +       +     +        -
TREE         +     -     -      -       -     -        -
UP           +     +     +      +       +     +        -
DOWN         +     +     +      +       +     +        -
REPORT       +     +     +      +       +     +        +
FORGET       +     -     -      -       -     -        -
KEEP         +     -     -      -       -     -        -
CONSENT      +     -     -      -       -     -        -
DELETE       +     -     +      +       +     +        -
"""
DISCORD_PICTURE = """
             asker other keeper manager admin operator blocked
VARY         +     -     -      -       -     +        -
COUNT        +     -     -      -       -     +        -
ORIGINAL     +     +     +      +       +     +        -
"""
# Ordinary messages: mentioned, unmentioned in a channel, and in private.
DISCORD_MESSAGES = """
                        person blocked bot webhook system
@bot /queue             +      -       .   .       .
what a day              .      .       .   .       .
"""
DISCORD_PRIVATE = """
                        person operator blocked
/story It rained.       +      +        -
/privacy                +      +        +
/forget                 +      +        +
/settings style agatha  +      +        -
/study on               +      +        -
/admin status           -      +        -
"""

# Telegram, in a group: "unnamed" is an administrator who writes as the group.
TELEGRAM = """
                        member admin operator blocked unnamed
/start                  +      +     +        +       +
/story It rained.       +      +     +        -       +
/compare It rained.     +      +     +        -       -
/guess                  +      +     +        -       -
/again                  +      +     +        -       +
/continue               +      +     +        -       +
/why                    +      +     +        -       +
/stories                +      +     +        -       +
/note It is red.        +      +     +        -       +
/cancel                 +      +     +        -       +
/styles                 +      +     +        -       +
/queue                  +      +     +        -       +
/help                   +      +     +        +       +
/privacy                +      +     +        +       +
/forget                 +      +     +        +       +
/mydata                 +      +     +        +       -
/withdraw               +      +     +        +       -
/consent                +      +     +        -       -
/link                   +      +     +        -       -
/rate                   +      +     +        -       -
/report                 +      +     +        +       +
/settings               +      +     +        -       +
/settings style agatha  -      +     +        -       +
/settings talk off      -      +     +        -       +
/study show             +      +     +        -       +
/study on               -      +     +        -       +
/study off              -      +     +        -       +
/admin status           -      -     +        -       -
"""
TELEGRAM_TOPIC = """
                        member admin operator blocked unnamed
/story It rained.       +      +     +        -       +
/forget                 +      +     +        +       +
/settings style agatha  -      +     +        -       +
/study on               -      +     +        -       +
"""
TELEGRAM_UNSPOKEN = """
                        channel linked bot via
/story It rained.       .       .      .   .
/settings style agatha  .       .      .   .
what a day              .       .      .   .
"""
TELEGRAM_PRIVATE = """
                        person operator blocked
/story It rained.       +      +        -
/privacy                +      +        +
/forget                 +      +        +
/settings style agatha  +      +        -
/study on               +      +        -
/admin status           -      +        -
"""
TELEGRAM_PRESSES = """
             asker other admin operator blocked
CONTINUE     +     -     -     +        -
AGAIN        +     -     -     +        -
STYLE        +     -     -     +        -
CANCEL       +     -     -     +        -
WHY          +     +     +     +        -
TREE         +     -     -     -        -
UP           +     +     +     +        -
DOWN         +     +     +     +        -
REPORT       +     +     +     +        +
FORGET       +     -     -     -        -
KEEP         +     -     -     -        -
DELETE       +     -     +     +        -
"""
# Below what the group itself asked: its administrators act for it.
TELEGRAM_GROUPS_OWN = """
             admin other operator blocked
CONTINUE     +     -     +        -
AGAIN        +     -     +        -
CANCEL       +     -     +        -
WHY          +     +     +        -
REPORT       +     +     +        +
FORGET       +     -     -        -
DELETE       +     -     +        -
"""


def cells(table: str) -> list[tuple[str, str, str]]:
    """What, who, and the outcome."""
    head, *lines = table.strip("\n").splitlines()
    people = head.split()
    found = []
    for line in lines:
        (*what,) = line.split()
        outcomes = what[-len(people) :]
        found += [
            (" ".join(what[: -len(people)]), who, outcome)
            for who, outcome in zip(people, outcomes, strict=True)
        ]
    return found
