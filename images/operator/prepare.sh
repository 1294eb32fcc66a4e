#!/bin/sh
# Collects the operator image's Python packages into $OUT. Needs: OUT, REPO, PYTHON.
set -eu
. "$REPO/images/install-python.sh"
install_python operator.txt "$REPO/operator/jil/__init__.py" "$REPO/operator/jil/tls" "$REPO/operator/jil/api" "$REPO/operator/jil/render" \
  "$REPO/operator/jil/plan" "$REPO/operator/jil/trust" "$REPO/operator/jil/observe" "$REPO/operator/jil/cluster" "$REPO/operator/jil/engine" "$REPO/operator/jil/controller"
