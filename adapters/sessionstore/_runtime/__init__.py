"""What every store needs of the process it runs in: time, threads, event loops, forks, Ctrl-C."""
