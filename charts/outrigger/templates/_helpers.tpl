{{/* What other charts call it, too: the release's name where that says it, else both. */}}
{{- define "outrigger.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "outrigger.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "outrigger.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* What finds the server's Pods; a Deployment's selector cannot change, so nothing that does is here. */}}
{{- define "outrigger.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Labels of everything. Whoever adds some may change the others, but not what the Pods are found by. */}}
{{- define "outrigger.labels" -}}
{{- $ours := dict
  "app.kubernetes.io/version" .Chart.AppVersion
  "app.kubernetes.io/part-of" "outrigger"
  "app.kubernetes.io/managed-by" .Release.Service
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_") -}}
{{- merge (include "outrigger.selectorLabels" . | fromYaml) .Values.commonLabels $ours | toYaml -}}
{{- end -}}

{{- define "outrigger.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository (default .Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end -}}

{{/* The Secret with the certificate, where there is one that is mounted. */}}
{{- define "outrigger.certificateSecret" -}}
{{- with .Values.tls -}}
{{- if eq .mode "certManager" -}}
{{- include "outrigger.fullname" $ }}-tls
{{- else if eq .mode "existingSecret" -}}
{{- required "tls.mode is `existingSecret`: name the Secret in tls.existingSecret" .existingSecret -}}
{{- else if or .existingSecret .caBundle -}}
{{- fail "tls.existingSecret and tls.caBundle do nothing unless tls.mode is `existingSecret`" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "outrigger.webhookAnnotations" -}}
{{- with .Values.webhooks.annotations }}
{{ toYaml . }}
{{- end }}
{{- if eq .Values.tls.mode "certManager" }}
cert-manager.io/inject-ca-from: {{ .Release.Namespace }}/{{ include "outrigger.fullname" . }}-tls
{{- end }}
{{- end -}}

{{/*
How the API server reaches a path of ours: (list $ "/mutate/annotated"). Where the server or cert-manager writes the caBundle, the field is
never rendered: two owners of one field make `helm upgrade` fail.
*/}}
{{- define "outrigger.clientConfig" -}}
{{- $ := index . 0 -}}
service:
  name: {{ include "outrigger.fullname" $ }}
  namespace: {{ $.Release.Namespace }}
  path: {{ index . 1 }}
  port: 443
{{- with $.Values.tls.caBundle }}
caBundle: {{ b64enc . }}
{{- end }}
{{- end -}}

{{/*
Namespaces that no webhook of ours may ever stop: what the cluster needs to come up, and the server itself. Values only add to it.
*/}}
{{- define "outrigger.namespaceRequirements" -}}
- key: kubernetes.io/metadata.name
  operator: NotIn
  values:
  {{- concat (list "kube-system" "kube-node-lease" "kube-public" .Release.Namespace) .Values.webhooks.excludedNamespaces | uniq | toYaml | nindent 2 }}
{{- with .Values.webhooks.namespaceSelector }}
{{ toYaml . }}
{{- end }}
{{- end -}}
