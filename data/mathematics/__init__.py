"""Whether two mathematical answers are the same, and where in a text the answer stands.

`extract` finds the answer, with what stands around its box (`context`); `notation` and `environments` bring its writing
into one form; `numbers` reads plain numbers exactly; `compare` takes sets, points (`points`), functions (`functions`),
residue classes (`congruences`), sentences (`sentences`), units (`units`) and the like apart; `value` says what counts
as an answer; `symbolic` has math-verify parse what is left, and settles it by numbers (`sampling`). `bounds` refuses
what is too large for that before it is read. `compare` and `symbolic` still run in workers (`data.workers.pool`).
"""
