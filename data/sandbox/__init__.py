"""Runs programs that a model wrote where they can do no harm, and judges them by tests that they cannot reach.

There are two processes, each in a sandbox of its own (`jail`). A socket is their only link (`trial`). One process holds
the program and calls its functions on request; the other runs the tests and sends the requests (`inside`). Only plain
values cross the socket. So a program sees the arguments of its calls, but neither the tests nor what they expect.
Whatever it does to its own process (leave it, patch it, print to it) can only fail the tests.
"""
