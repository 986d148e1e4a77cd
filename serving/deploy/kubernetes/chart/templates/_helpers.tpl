{{/* The labels that select the pods of a component: include "toonify.selector" (list $ "server") */}}
{{- define "toonify.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ $root.Chart.Name }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* All labels of a component's objects. */}}
{{- define "toonify.labels" -}}
{{- $root := index . 0 -}}
{{ include "toonify.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ $root.Chart.Name }}-{{ $root.Chart.Version }}
{{- end }}

{{/* What pods of all components may do: nothing but compute. */}}
{{- define "toonify.podSecurity" -}}
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "toonify.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Pods of one component go to different nodes, where there are several. */}}
{{- define "toonify.spread" -}}
- maxSkew: 1
  topologyKey: kubernetes.io/hostname
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels: {{- include "toonify.selector" . | nindent 6 }}
  matchLabelKeys: [pod-template-hash]
{{- end }}

{{/* Requests in flight at all servers of the release, by the time of all steps, which clients ask directly too. */}}
{{- define "toonify.inFlight" -}}
sum(rate(nv_inference_request_duration_us{namespace={{ .Release.Namespace | quote }},service="{{ .Release.Name }}-headless",model!~"(toonify|sample)(_.*)?|encode"}[1m])) / 1e6
{{- end }}

{{/* How fast the number of servers may change: up at once, down one by one when ten minutes were quiet. */}}
{{- define "toonify.behavior" -}}
scaleUp:
  stabilizationWindowSeconds: 0
scaleDown:
  stabilizationWindowSeconds: 600
  policies:
    - type: Pods
      value: 1
      periodSeconds: 120
{{- end }}

{{/* Values that contradict one another are refused. */}}
{{- define "toonify.check" -}}
{{- if and .Values.models.claim .Values.models.image }}
{{- fail "models: got a claim and an image, expected one of the two; leave out models.claim or models.image" }}
{{- end }}
{{- if not (or .Values.models.claim .Values.models.image) }}
{{- fail "models: got neither a claim nor an image, expected one of the two; give --set models.claim=NAME or --set models.image=REFERENCE" }}
{{- end }}
{{- if and .Values.edge.enabled (not .Values.edge.secret) }}
{{- fail "edge: got no Secret, expected one with the edge.json that toonify edge --output writes; give --set edge.secret=NAME" }}
{{- end }}
{{- if and (eq .Values.autoscaling.kind "keda") (not .Values.autoscaling.prometheus) }}
{{- fail "autoscaling by KEDA: got no address of Prometheus, expected one; give --set autoscaling.prometheus=http://HOST:9090" }}
{{- end }}
{{- if lt (int .Values.autoscaling.maxReplicas) (int .Values.replicas) }}
{{- fail (printf "autoscaling.maxReplicas: got %d, expected at least the %d of replicas; give a larger one" (int .Values.autoscaling.maxReplicas) (int .Values.replicas)) }}
{{- end }}
{{- end }}
