#!/bin/bash
# A sweep on the nodes of a SLURM job. Submit the same script again to continue it.
#SBATCH --job-name=sweep
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=16
#SBATCH --time=12:00:00
#SBATCH --requeue
set -euo pipefail

first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" ray symmetric-run --address "$first:6379" --min-nodes "$SLURM_JOB_NUM_NODES" \
    --num-cpus "$SLURM_CPUS_PER_TASK" --num-gpus "${SLURM_GPUS_ON_NODE:-0}" -- \
    python -m cnn_scratch.tune --data "$HOME/photos" --runs-dir "$HOME/runs" --logs-dir "$HOME/logs" --name photos \
    --max-trials all --budget 11h30m --executor ray --ray-address auto
