"""Which inputs of a linear are outliers, so that int8 leaves them out of its range.

A few channels of a transformer's activations are many times greater than the others (arXiv 2208.07339);
with them in one range the rest would be rounded away. The model reads a page once, when it is loaded,
and the greatest channels of every linear stay in full precision from then on.
"""

from typing import Any

import torch

OUTLIERS = 32  # channels of each linear; half as many cost SmolLM2-135M 1 % of perplexity
TOKENS = 512  # of the page, at most
PAGE = """The rain had not stopped since Thursday, and by the time the train came in there was nobody left on the platform but a boy with a lantern. "You are late," he said. "They have been asking for you at the house." I told him that I had walked from the river, for the bridge was down; and he looked at my boots, and then at the sky, as if one of the two must be lying. We went up the hill together without a word.

Prices rose by 3.2 per cent in the year to March, the statistics office said on Tuesday, more than economists had expected. The minister told reporters that the figures were "disappointing", and that a decision about taxes would be taken in the autumn. Shares fell in London, Paris and New York. Police said that two men, aged 34 and 51, were arrested after the protest in front of Parliament.

There are things beneath the old town of which its people do not speak: cellars older than the walls above them, stairs that go down without a light, and a sound, in certain months, like the breathing of some vast and patient animal. Dr. Whitfield had written of it in 1897. His notes ended in the middle of a sentence.

How do you make a good cup of tea? First, boil fresh water. Then warm the pot, put in one spoon of leaves for each person, and wait four minutes. 1. Milk; 2. sugar; 3. lemon: take what you like."""  # noqa: E501

Sizes = dict[str, torch.Tensor]  # a linear's name -> the greatest size of each of its inputs


@torch.inference_mode()
def channel_sizes(model: Any, tokenizer: Any) -> Sizes:
    """Of every linear of a loaded transformers model, by its full name, while it reads the page."""
    sizes: Sizes = {}

    def watch(name: str) -> Any:
        def seen(_linear: Any, inputs: tuple[torch.Tensor, ...]) -> None:
            sizes[name] = inputs[0].detach().float().flatten(0, -2).abs().amax(0)

        return seen

    linears = [(n, m) for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)]
    hooks = [linear.register_forward_pre_hook(watch(name)) for name, linear in linears]
    try:
        ids = tokenizer(PAGE).input_ids[:TOKENS]
        model(input_ids=torch.tensor([ids], device=model.device), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return sizes
