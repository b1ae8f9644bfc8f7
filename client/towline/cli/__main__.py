"""`python -m towline.cli`, where the script `towline` is not on the path."""

from towline.cli import main

main()
