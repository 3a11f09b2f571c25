from stkit.cli import main

main()
