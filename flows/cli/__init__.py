"""The command `lockgate`. Commands are imported when they are called, so that `--help` loads no vendor."""

from __future__ import annotations

import importlib
import logging
import os
import sys

import click

import lockgate

_COMMANDS = {
    "init": "Write a commented spec for a registered model.",
    "validate": "Check a spec and show every mistake in it.",
    "schema": "Print the JSON schema that editors complete from.",
    "plan": "Show what a run would do, before anything is touched.",
    "rehearse": "Replay captured traffic through the spec and its judge, offline.",
    "compile": "Compile, prove and measure every candidate; show the table.",
    "up": "Serve the stable version behind the router, without a rollout.",
    "run": "Roll the candidate out, or resume the open rollout, to its end.",
    "serve": "Run the pipeline as scheduled Prefect deployments.",
    "supervise": "Start again what died of pipelines that are up.",
    "metrics": "Serve the rollouts' state as Prometheus metrics.",
    "observe": "Watch: start Prometheus with everything that Lockgate shows.",
    "webhooks": "Let MLflow's webhooks wake the pipeline.",
    "notify": "Send a test message to everybody whom the spec tells.",
    "sweep": "Resume rollouts that nobody drives, once.",
    "status": "Show rollouts: steps, weights, gates with their numbers.",
    "history": "Show what happened to a model's rollouts, and why.",
    "drift": "Compare live inputs with the data that the model was trained on.",
    "verify": "Compute every verdict of a rollout anew from its log.",
    "approve": "Let a rollout that asks for approval go on.",
    "reject": "Roll back a rollout that asks for approval.",
    "promote": "End the steps by hand: the candidate gets all traffic.",
    "abort": "End the rollout by hand: all traffic back to stable.",
    "pause": "Stay at the present step; gates still roll back.",
    "resume": "Go on after a pause.",
    "down": "Stop the router and the replicas of a spec.",
    "doctor": "Say what is missing on this machine, and what to do.",
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command = importlib.import_module(f"lockgate.flows.cli.{cmd_name}").command
        assert isinstance(command, click.Command)  # noqa: S101 - each module of this folder holds one
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(args[0], _COMMANDS, 1)
            hint = f"; did you mean '{near[0]}'?" if near else "; `lockgate --help` lists the commands"
            ctx.fail(f"no such command '{args[0]}'{hint}")
        return super().resolve_command(ctx, args)


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(lockgate.__version__, prog_name="lockgate")
def cli() -> None:
    """Lift a registered model to production traffic step by step; each gate opens only on evidence.

    \b
    Start with:  lockgate init MODEL, then lockgate plan, then lockgate run
    Exit codes:  0 promoted or done    2 bad spec or usage     10 rolled back      12 candidate refused
                 1 unexpected error    3 a part is missing     11 undecided        13 driven by somebody else
                 14 a log cannot be read, or does not hold          15 `drift`: something drifts
    """  # noqa: D301 - click's own mark for a paragraph that keeps its lines


def main() -> None:
    """Run the command; every foreseen error is a sentence on standard error and an exit code."""
    os.umask(os.umask(0o002) | 0o002)  # nothing of ours may be changed by everybody, whatever the shell allows
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "false")
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    try:
        cli(prog_name="lockgate")
    except Exception as error:
        from lockgate.flows.approval.words import seen
        from lockgate.flows.exits import code_of

        code = code_of(error)
        if code is None:
            raise
        words = "\n".join(map(seen, str(error).splitlines()))  # some of them somebody else's, from the registry
        click.echo(f"lockgate: {words}", err=True)
        sys.exit(code)
