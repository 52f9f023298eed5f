# stands for serving/config/ready.sh
