#!/bin/bash
# One training on the GPUs of all nodes of a SLURM job.
#SBATCH --job-name=photos
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=16

addresses=$(for host in $(scontrol show hostnames "$SLURM_JOB_NODELIST"); do
    seq 12345 $((12344 + SLURM_NTASKS_PER_NODE)) | sed "s/.*/\"$host:&\"/"
done | paste -sd,)
export addresses
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" --kill-on-bad-exit bash -c '
    export TF_CONFIG="{\"cluster\": {\"worker\": [$addresses]}, \"task\": {\"type\": \"worker\", \"index\": $SLURM_PROCID}}"
    exec python -m cnn_scratch.train --data /data/photos --strategy multi_worker --batch-size 256 --epochs 20'
