"""Kubernetes: a Deployment with probes, a Service, and a PodDisruptionBudget."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conduit_lab.export.deployment.container import USER

if TYPE_CHECKING:
    from conduit_lab.export.deployment.deployment import Deployment

_REPLICAS = 2
_PRE_STOP_SECONDS = 5  # until the Service stops routing to a terminating pod
_GRACE_SECONDS = 10  # of `conduit-lab serve`
_OPEN_SECONDS = 120  # to load the models of a large app

_RESTRICTED = """\
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities:
              drop: ["ALL"]
"""


_GPU = """\
# on NVIDIA GPUs, with the GPU image:
# kubectl set resources deployment {name} --limits nvidia.com/gpu=1
"""


def manifests(deployment: Deployment) -> str:
    """Return `k8s.yaml`. Each pod has its own copy of the stores below `indexes/`."""
    name = deployment.label
    memory = deployment.memory_mib
    gpu = deployment.onnxruntime is not None
    return f"""# kubectl apply --filename k8s.yaml, once image and secret exist: see README.md
{_GPU.format(name=name) if gpu else ""}apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
  labels:
    app.kubernetes.io/name: {name}
spec:
  replicas: {_REPLICAS}
  selector:
    matchLabels:
      app.kubernetes.io/name: {name}
  strategy:
    type: RollingUpdate
    rollingUpdate:
      maxUnavailable: 0
      maxSurge: 1
  template:
    metadata:
      labels:
        app.kubernetes.io/name: {name}
    spec:
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: {_PRE_STOP_SECONDS + 2 * _GRACE_SECONDS}
      securityContext:
        runAsNonRoot: true
        runAsUser: {USER}
        runAsGroup: {USER}
        fsGroup: {USER}
        seccompProfile:
          type: RuntimeDefault
{_copied_stores(deployment)}      containers:
        - name: app
          image: {name}:latest
          imagePullPolicy: IfNotPresent
          ports:
            - name: http
              containerPort: 8000
          envFrom:
            - secretRef:
                name: {name}
          startupProbe:
            httpGet:
              path: /readyz
              port: http
            periodSeconds: 2
            failureThreshold: {_OPEN_SECONDS // 2}
          readinessProbe:
            httpGet:
              path: /readyz
              port: http
            periodSeconds: 5
          livenessProbe:
            httpGet:
              path: /healthz
              port: http
            periodSeconds: 10
            timeoutSeconds: 3
          lifecycle:
            preStop:
              exec:
                command: ["sleep", "{_PRE_STOP_SECONDS}"]
          resources:
            requests:
              cpu: 500m
              memory: {memory}Mi
            limits:
              memory: {2 * memory}Mi
{_RESTRICTED}          volumeMounts:
            - name: tmp
              mountPath: /tmp
{_mounted_stores(deployment)}      volumes:
        - name: tmp
          emptyDir: {{}}
{_volume_of_stores(deployment)}---
apiVersion: v1
kind: Service
metadata:
  name: {name}
  labels:
    app.kubernetes.io/name: {name}
spec:
  selector:
    app.kubernetes.io/name: {name}
  ports:
    - name: http
      port: 80
      targetPort: http
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {name}
spec:
  minAvailable: 1
  selector:
    matchLabels:
      app.kubernetes.io/name: {name}
"""


def _copied_stores(deployment: Deployment) -> str:
    """Return the init container that copies the stores out of the read-only image."""
    if not deployment.stores:
        return ""
    return f"""      initContainers:
        - name: indexes
          image: {deployment.label}:latest
          imagePullPolicy: IfNotPresent
          command: ["cp", "--recursive", "/app/indexes/.", "/indexes"]
          resources:
            limits:
              memory: 64Mi
{_RESTRICTED}          volumeMounts:
            - name: indexes
              mountPath: /indexes
"""


def _mounted_stores(deployment: Deployment) -> str:
    if not deployment.stores:
        return ""
    return "            - name: indexes\n              mountPath: /app/indexes\n"


def _volume_of_stores(deployment: Deployment) -> str:
    return "        - name: indexes\n          emptyDir: {}\n" if deployment.stores else ""
