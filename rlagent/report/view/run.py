"""The page of a run: how it stands, its curves, which move while it trains, and the way to more."""

from rlagent.report.data import load
from rlagent.report.page import run_values
from rlagent.report.view.home import GOING
from rlagent.report.view.site import Asked, Site, address

LIVE = 2
"""Seconds between two looks at a run that trains."""


def run(site: Site, asked: Asked) -> str:
    """The page of a run."""
    folder = site.run(asked.name)
    status = folder.standing()

    def make() -> str:
        data = load(folder, conversations=False, configuration=False)
        return site.page(
            "view_run.html.j2",
            folder.name,
            [],
            **run_values(data),
            live=LIVE if data.status.get("state") in GOING else 0,
            links=[
                ("Rollouts", address("run", folder.name, "rollouts")),
                *(
                    [("Evaluations", address("run", folder.name, "evaluations"))]
                    if evaluated
                    else []
                ),
                ("Configuration", address("run", folder.name, "configuration")),
            ],
        )

    # A driver that died leaves its files as they were.
    evaluated = ["evaluations"] if site.evaluations(folder.name) else []
    links = ["rollouts", *evaluated, "configuration"]
    key = ("run page", folder.path, status.get("state"), *links)
    return site.memory.get(key, [folder.status_json, folder.metrics_jsonl], make)


def configuration(site: Site, asked: Asked) -> str:
    """The page of a run's configuration, secrets hidden."""
    folder = site.run(asked.name)

    def make() -> str:
        data = load(folder, conversations=False)
        return site.page(
            "view_configuration.html.j2",
            f"Configuration of {folder.name}",
            [(folder.name, address("run", folder.name))],
            files=[
                (name, text)
                for name, text in (
                    ("config.yaml", data.config_yaml),
                    ("trinity.yaml", data.trinity_yaml),
                )
                if text
            ],
        )

    files = [folder.config_yaml, folder.trinity_yaml]
    return site.memory.get(("configuration", folder.path), files, make)
