"""`python -m shared.embedded.engine`: the converter process. `shared.embedded.converter` starts it."""

from shared.embedded.engine.process import main

main()
