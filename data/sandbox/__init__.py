"""Programs that a model wrote, run where they can do no harm, and judged by tests that they cannot reach.

Two processes, each in a sandbox of its own (`jail`), joined by nothing but a socket (`trial`): one has the program, and
calls its functions when asked; the other has the tests, and asks (`inside`). Over the socket go plain values only. So a
program sees the arguments of its calls, but neither the tests nor what they expect, and whatever it does to its own
process (leave it, patch it, print to it) can only fail the tests.
"""
