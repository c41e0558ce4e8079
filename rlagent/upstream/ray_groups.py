"""Ray's placement groups, by the actor that made them."""

from collections.abc import Collection
from typing import Any

from rlagent.upstream.patch import Relies, patch

SOURCE = "https://github.com/ray-project/ray/blob/ray-2.60.0/python/ray"


@patch(
    "ray",
    ">=2.60,<3",
    f"{SOURCE}/_private/state.py#L305",
    "Ray removes a placement group when the actor that made it has ended, not only with the job",
    [
        Relies("ray._private.state:GlobalState._connect_and_get_accessor", "self"),
        Relies(
            "ray._private.state:GlobalState.placement_group_table",
            None,
            "placement_group_table = accessor.get_placement_group_table()",
        ),
        Relies("ray._private.state", None, "\nstate = GlobalState()"),
    ],
)
def remove_groups_of(actors: Collection[Any]) -> None:
    """Remove the placement groups that actors have made, with all that runs in them.

    Ray keeps them until the driver ends. Their GPUs stay reserved, and engines that start next wait
    for those without end.

    Args:
        actors: Handles of the actors.
    """
    from ray import PlacementGroupID
    from ray._private.state import state
    from ray.core.generated.gcs_pb2 import PlacementGroupTableData
    from ray.util.placement_group import PlacementGroup, remove_placement_group

    ids = {actor._actor_id.binary() for actor in actors}
    for row in state._connect_and_get_accessor().get_placement_group_table():
        group = PlacementGroupTableData.FromString(row)
        if group.creator_actor_id in ids:
            remove_placement_group(PlacementGroup(PlacementGroupID(group.placement_group_id)))
