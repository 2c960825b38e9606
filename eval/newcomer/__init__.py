"""A newcomer's first hour, done by commands as a person types them: what to do, and what is easy to get wrong.

`hour` runs a command and judges what it said; `first_steps` and `bad_inputs` are the steps.
"""
