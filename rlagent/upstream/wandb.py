"""What is switched off in W&B by settings that it calls experimental."""

from typing import Any

from rlagent.upstream.patch import Relies, patch


@patch(
    "wandb",
    ">=0.31,<1",
    "https://github.com/wandb/wandb/blob/v0.31.0/wandb/sdk/wandb_settings.py#L622",
    "W&B documents a setting for each",
    [
        Relies("wandb.sdk.wandb_settings:Settings.x_disable_stats"),
        Relies("wandb.sdk.wandb_settings:Settings.x_disable_meta"),
    ],
)
def unasked_for(system_stats: bool) -> dict[str, Any]:
    """Settings under which W&B sends no command line, and system metrics only where asked for.

    Command lines may hold secrets; the configuration says what matters.
    """
    return {"x_disable_stats": not system_stats, "x_disable_meta": True}
