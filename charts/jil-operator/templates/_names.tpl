{{/*
Names are fixed, not made from the release name: there is one operator in a cluster, the guards name its
ServiceAccount, and chart jil-jurisdiction binds to its ClusterRole. A second release fails at once and says so.
*/}}
{{- define "jil-operator.name" -}}jil-operator{{- end -}}

{{- define "jil-operator.username" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "jil-operator.name" . }}
{{- end -}}

{{- define "jil-operator.selectorLabels" -}}
app.kubernetes.io/name: jil-operator
app.kubernetes.io/component: operator
{{- end -}}

{{/* Not managed-by=jil-operator: that label is for what the operator itself makes and sweeps. */}}
{{- define "jil-operator.labels" -}}
{{ include "jil-operator.selectorLabels" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: jil
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* The image by digest, or an error that says how to give one. */}}
{{- define "jil-operator.image" -}}
{{- $image := .Values.image -}}
{{- $pair := or $image.repository $image.digest -}}
{{- if and $image.ref $pair -}}
{{- fail "image: give image.ref or image.repository with image.digest, not both" -}}
{{- else if $image.ref -}}
{{- $image.ref -}}
{{- else if and $image.repository $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- fail "image: the operator's image is missing. It is named by digest, because a tag can be moved to other content: --set image.ref=<registry>/<repository>@sha256:<64 hex digits>. To find the digest of a tag: crane digest <registry>/<repository>:<tag>" -}}
{{- end -}}
{{- end -}}

{{/* "true" when nodes have logins of their own; fails on values that would open nothing. */}}
{{- define "jil-operator.nodeLogins" -}}
{{- with .Values.registries.nodeLogins }}
{{- if ne (empty .registry) (empty .keySecret) }}
{{- fail "registries.nodeLogins: give registry and keySecret, or neither" }}
{{- end }}
{{- $mirror := splitList "/" $.Values.nodes.mirror | first }}
{{- if and .registry $mirror (ne $mirror .registry) }}
{{- fail (printf "registries.nodeLogins.registry: nodes pull from the mirror %s, so a login at %s would open nothing; give the mirror's host" $mirror .registry) }}
{{- end }}
{{- if .registry }}true{{ end }}
{{- end }}
{{- end -}}
