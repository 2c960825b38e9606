"""Whether two mathematical answers are the same, and where in a text the answer stands.

`extract` finds the answer, with what stands around its box (`context`); `notation` and `environments` bring its writing
into one form; `numbers` reads plain numbers exactly; `compare` takes sets, points (`points`), units (`units`) and the
like apart; `value` says what counts as an answer; `symbolic` has math-verify parse what is left, and settles it by
numbers (`sampling`). What is too large for that is refused unread (`bounds`); `compare` and `symbolic` run in workers
all the same (`data.workers.pool`).
"""
