{{- define "jil-jurisdiction.labels" -}}
app.kubernetes.io/name: jil-jurisdiction
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: jil
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "jil-jurisdiction.namespace" -}}
{{- required "namespace.name is missing: the namespace of this jurisdiction, e.g. --set namespace.name=jil-ch-finma" .Values.namespace.name -}}
{{- end -}}

{{/* What makes a namespace one of a jurisdiction; also printed as a command where the namespace is not ours. */}}
{{- define "jil-jurisdiction.namespaceLabels" -}}
jil.io/network: {{ required "network is missing: the name of the JILNetwork, e.g. --set network=jil-devnet" .Values.network | quote }}
jil.io/jurisdiction: {{ required "jurisdiction.name is missing: the name of the JILJurisdiction, e.g. --set jurisdiction.name=ch-finma" .Values.jurisdiction.name | quote }}
{{- if eq .Values.imageTrust "required" }}
jil.io/image-trust: required
{{- end }}
pod-security.kubernetes.io/enforce: restricted
pod-security.kubernetes.io/warn: restricted
pod-security.kubernetes.io/audit: restricted
{{- end -}}
