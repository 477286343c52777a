"""Signals as in a terminal, whoever starts the tests.

A job in the background of a script ignores SIGINT, one after nohup SIGHUP; the processes that tests start would, too.
"""
import signal

for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, handler)
