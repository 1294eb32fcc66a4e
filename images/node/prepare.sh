#!/bin/sh
# Collects the node image's Python packages into $OUT. Needs: OUT, REPO, PYTHON.
set -eu
. "$REPO/images/install-python.sh"
install_python node.txt "$REPO/operator/jil/__init__.py" "$REPO/operator/jil/api" "$REPO/operator/jil/node"
