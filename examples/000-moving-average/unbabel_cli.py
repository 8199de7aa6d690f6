"""python unbabel_cli.py --input_file events.json --window_size 10: the same as the console script `unbabel_cli`."""

from event_processor.cli.unbabel import main

if __name__ == "__main__":
    main()
