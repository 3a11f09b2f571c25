#!/usr/bin/env bash
#SBATCH --job-name=stkit
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=04:00:00
#SBATCH --signal=TERM@120
#
# Poison and train on two machines with eight GPUs each: torchrun on each, and nothing else.
#
#   sbatch examples/slurm.sh [SOURCE [OUTPUT]]      SOURCE: a dataset file or folder all nodes see
#
# Two minutes before its time is up the job is told, and saves (torchrun gives it 30 s for that); sent
# off again, it goes on.
# --batch-size is that of all GPUs together. BatchNorm is each GPU's own unless --sync-bn is given.
set -euo pipefail

source=${1:-train.safetensors}
out=${2:-slurm-out}
mkdir -p "$out"

gpus=${SLURM_GPUS_ON_NODE:-8}
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export OMP_NUM_THREADS=$((${SLURM_CPUS_PER_TASK:-32} / gpus))

stkit() { # stkit ARGUMENT...: on all GPUs of all nodes
  srun --kill-on-bad-exit=1 --cpus-per-task="${SLURM_CPUS_PER_TASK:-32}" torchrun --nnodes "$SLURM_JOB_NUM_NODES" --nproc-per-node "$gpus" \
    --rdzv-backend c10d --rdzv-endpoint "$first:29500" --rdzv-id "$SLURM_JOB_ID" \
    -m stkit "$@"
}

[ -e "$out/em.safetensors" ] ||
  stkit poison em "$source" --resume -o "$out/em.safetensors"
for frame in nt st-full; do
  [ -e "$out/em-$frame.safetensors" ] ||
    stkit train "$out/em.safetensors" --frame "$frame" --batch-size 1024 --sync-bn --resume \
      -o "$out/em-$frame.safetensors"
done
