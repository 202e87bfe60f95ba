"""Speed and memory of medvit beside a reference, one module for each `medvit benchmark NAME`."""
