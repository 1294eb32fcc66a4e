{{/* Environment of the operator's container: its settings (JIL_*), then proxy and CA, then what the user adds. */}}
{{- define "jil-operator.env" -}}
- name: JIL_SYSTEM_NAMESPACE
  valueFrom:
    fieldRef: {fieldPath: metadata.namespace}
- name: JIL_POD_NAME
  valueFrom:
    fieldRef: {fieldPath: metadata.name}
{{- with .Values.settings }}
- name: JIL_LOG_LEVEL
  value: {{ .logLevel }}
- name: JIL_WORKERS
  value: {{ .workers | quote }}
- name: JIL_RECONCILE_TIMEOUT
  value: {{ .reconcileTimeout | quote }}
- name: JIL_RESYNC
  value: {{ .resync | quote }}
- name: JIL_SWEEP
  value: {{ .sweep | quote }}
- name: JIL_LEASE_DURATION
  value: {{ .lease.duration | quote }}
- name: JIL_LEASE_RENEW_DEADLINE
  value: {{ .lease.renewDeadline | quote }}
- name: JIL_LEASE_RETRY
  value: {{ .lease.retry | quote }}
{{- end }}
{{- with .Values.nodes.mirror }}
- name: JIL_IMAGE_MIRROR
  value: {{ . | quote }}
{{- end }}
{{- with .Values.nodes.imagePullSecrets }}
{{- $names := list }}
{{- range . }}{{ $names = append $names .name }}{{ end }}
- name: JIL_IMAGE_PULL_SECRETS
  value: {{ toJson $names | quote }}
{{- end }}
- name: JIL_PRIORITY_CLASSES
  value: {{ .Values.nodes.priorityClasses | quote }}
{{- if .Values.registries.credentials }}
- name: JIL_REGISTRY_CONFIG
  value: /etc/jil/registries/config.json
{{- end }}
{{- if or .Values.registries.ca.configMap .Values.registries.ca.secret }}
- name: JIL_REGISTRY_CA
  value: /etc/jil/registry-ca/ca.crt
{{- end }}
{{- if include "jil-operator.nodeLogins" . }}
- name: JIL_NODE_LOGIN_REGISTRY
  value: {{ .Values.registries.nodeLogins.registry | quote }}
- name: JIL_NODE_LOGIN_KEY
  value: /etc/jil/node-logins/issuer.pem
- name: JIL_NODE_LOGIN_LIFETIME
  value: {{ .Values.registries.nodeLogins.lifetime | quote }}
{{- end }}
{{- with .Values.registries.endpoints }}
- name: JIL_REGISTRY_ENDPOINTS
  value: {{ toJson . | quote }}
{{- end }}
{{- if or .Values.proxy.https .Values.proxy.http }}
{{- with .Values.proxy.https }}
- name: HTTPS_PROXY
  value: {{ . | quote }}
{{- end }}
{{- with .Values.proxy.http }}
- name: HTTP_PROXY
  value: {{ . | quote }}
{{- end }}
- name: NO_PROXY
  value: {{ concat (list "localhost" "127.0.0.1" ".svc" ".cluster.local" "$(KUBERNETES_SERVICE_HOST)") .Values.proxy.noProxy | join "," | quote }}
{{- end }}
{{- if or .Values.privateCA.configMap .Values.privateCA.secret }}
- name: SSL_CERT_FILE
  value: /etc/jil/private-ca/ca.crt
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}
