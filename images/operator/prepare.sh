#!/bin/sh
# Collects the operator image's Python packages into $OUT. Needs: OUT, REPO, PYTHON.
set -eu
. "$REPO/images/install-python.sh"
install_python operator.txt
