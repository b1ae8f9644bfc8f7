"""The whole of Towline on one machine, from one command: `python -m infra.embedded`."""
