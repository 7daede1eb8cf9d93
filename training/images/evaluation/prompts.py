"""The prompts a LoRA is judged by: the source report's two, the instance prompt, the recipe's own."""

from training.images.recipe import ImageRecipe

BRACELET = (
    "A high-quality photo of a real historical TOK bracelet crafted in engraved silver with "
    "interlocking geometric panels and a central oval red gemstone. Smooth, precise metalwork with "
    "subtle filigree edges. Authentic museum artifacts photographed in soft neutral light, showing "
    "texture, age, and refined craftsmanship."
)
NECKLACE = (
    "A high-quality photo of a TOK real historical opal necklace featuring a pendant in a golden "
    "metal with a central blue stone. Detailed craftsmanship but smooth and geometric forms. "
    "Authentic museum object photographed in neutral lighting."
)


def prompts_of(recipe: ImageRecipe) -> tuple[str, ...]:
    own = (recipe.data.instance_prompt, *recipe.validation.prompts)
    return tuple(dict.fromkeys((BRACELET, NECKLACE, *own)))
