"""`millrace compose-secrets`: the secrets of docker-compose.yaml."""

from include.commands.console import exit_on_error, say
from include.local.compose import write_secrets
from include.storage.state import PROJECT_ROOT


def compose_secrets() -> None:
    """Write the missing secrets of docker-compose.yaml as files of mode 600 into `secrets/`, and `.env`."""
    with exit_on_error():
        written = write_secrets(PROJECT_ROOT)
    if written:
        say(f"{len(written)} files are new in {PROJECT_ROOT}: {', '.join(path.name for path in written)}.")
    else:
        say(f"{PROJECT_ROOT / 'secrets'} and .env are complete: nothing was written.")
