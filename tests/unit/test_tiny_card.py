"""The tiny model's card: it says what is so."""

from rlagent.base.paths import asset_dir
from rlagent.config.presets import model_preset


def test_the_card_states_the_recipe_that_the_preset_has():
    card = " ".join((asset_dir("tiny") / "README.md").read_text(encoding="utf-8").split())
    recipe = model_preset("tiny").recipe
    mantissa, exponent = f"{recipe.lr:.0e}".split("e")
    rate = f"learning rate {mantissa}e{int(exponent)}"
    assert f"{rate}, KL weight {recipe.kl_coef or 0:g}, " in card
    rollouts = f"{recipe.total_steps} steps of {recipe.batch_size} tasks x {recipe.repeat_times}"
    assert rollouts in card
    assert f"at most {recipe.max_response_tokens} tokens a response" in card
