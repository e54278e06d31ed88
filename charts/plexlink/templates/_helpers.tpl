{{/* The prefix of all names. */}}
{{- define "plexlink.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains "plexlink" .Release.Name -}}
{{- .Release.Name | trunc 30 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-plexlink" (.Release.Name | trunc 21 | trimSuffix "-") -}}
{{- end -}}
{{- end -}}

{{- define "plexlink.labels" -}}
{{ include "plexlink.selector" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "plexlink.selector" -}}
app.kubernetes.io/name: plexlink
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "plexlink.managerSelector" -}}
{{ include "plexlink.selector" . }}
control-plane: controller-manager
{{- end -}}

{{- define "plexlink.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* Labels of Pods that their selectors do not have. */}}
{{- define "plexlink.podLabels" -}}
{{- with mustMerge (dict) .Values.podLabels .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Settings that the Deployment and the Job of the uninstallation share. */}}
{{- define "plexlink.podSettings" -}}
serviceAccountName: {{ include "plexlink.fullname" . }}-controller-manager
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
{{- toYaml . | nindent 0 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
{{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
{{- toYaml . | nindent 0 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
{{- toYaml . | nindent 2 }}
{{- end }}
{{- with index .Values "podSecurityContext" }}
securityContext:
{{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "plexlink.containerSettings" -}}
image: {{ include "plexlink.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- with index .Values "securityContext" }}
securityContext:
{{- toYaml . | nindent 2 }}
{{- end }}
env:
- name: GOMEMLIMIT
  valueFrom:
    resourceFieldRef:
      resource: limits.memory
# Addresses near these belong to Pods, and go away with them.
- name: POD_IPS
  valueFrom:
    fieldRef:
      fieldPath: status.podIPs
{{- with .Values.env }}
{{- toYaml . | nindent 0 }}
{{- end }}
resources:
{{- toYaml .Values.resources | nindent 2 }}
{{- end -}}
