module jil.io/testbed/pause

go 1.24
