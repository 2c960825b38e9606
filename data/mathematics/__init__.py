"""Whether two mathematical answers are the same, and where in a text the answer stands.

`extract` finds the answer, `notation` brings its writing into one form, `numbers` reads plain numbers exactly,
`compare` takes sets, tuples, units and the like apart, and `symbolic` has math-verify parse and judge what is left.
That can hang on a hostile answer, so `compare` and `symbolic` run in workers (`data.worker_pool`).
"""
